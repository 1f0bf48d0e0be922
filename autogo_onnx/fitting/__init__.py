"""Closed-form fitting: weights for a replacement from activations alone, no gradients."""
