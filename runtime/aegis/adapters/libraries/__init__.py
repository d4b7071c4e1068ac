"""The wheels that components import and the host has not: chosen, fetched, checked and kept."""
