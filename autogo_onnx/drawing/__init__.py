"""Weight-free graphs for people: as SVG, as text, and their MACs as a formula of the widths."""
