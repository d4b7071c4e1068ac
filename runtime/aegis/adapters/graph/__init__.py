"""Draws the graph: one renderer for cells, widgets, the panel and the API."""
