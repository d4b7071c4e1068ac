"""HTTP servers around the router."""
