"""The HTTP surface as values: requests in, responses out, no web framework and no socket."""
