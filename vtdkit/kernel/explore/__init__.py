"""The exploration algorithm: drives a `system.System`, whatever that is made of."""
