"""Graceful refusal: of the requests that both arms decline, how well they are declined."""
