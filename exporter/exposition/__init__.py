"""From families to the bytes of an answer: negotiation, rendering, compression."""
