"""Where records, events and flows are kept."""
