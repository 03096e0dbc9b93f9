"""The replay of runs with several legs: baskets, hedges, coin contracts, collateral. Contract: docs/pools.md."""
