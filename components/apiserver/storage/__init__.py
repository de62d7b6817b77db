"""Revisioned storage behind one protocol, and the watch cache that serves every read."""
