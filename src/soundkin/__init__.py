"""Recommend music by how it sounds."""
