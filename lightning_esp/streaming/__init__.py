"""Streaming forms of torch modules."""
