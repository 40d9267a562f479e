"""Samples out, bytes on the wire: formats and their negotiation."""
