"""Trust: conformal sets, out-of-distribution scores, and the classifier that uses both."""
