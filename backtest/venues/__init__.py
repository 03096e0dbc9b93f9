"""What a venue imposes: dated tiers, contracts and fees as data, rulebooks as parameters."""
