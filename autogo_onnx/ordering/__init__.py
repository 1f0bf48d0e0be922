"""An order of a graph's operators that does not depend on how the graph is numbered."""
