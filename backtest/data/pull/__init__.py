"""Pulling: from a recipe to rows in the lake, over the network, only what is missing."""
