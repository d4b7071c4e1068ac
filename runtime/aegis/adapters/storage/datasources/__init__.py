"""Where records can be kept instead of in the host's store (see protocols.Datasource)."""
