"""What an evolution is for: from a file or a name to models that can be trained, and a report.

In the order of the data:

- `options`: every choice of the user;
- `base`: the network to start from, as a model; `untouchable`: what in it must stay;
- `request`: what the search is asked for; `autogo_onnx.evolution` searches;
- `changes`: what a list of edits changed in the end;
- `inheritance`: weights for that; `building`: the model, checked;
- `timing`: its latency; `presentation`: which networks of the front, in which order;
- `workflow`: all of this, top to bottom;
- `report`, `text`, `page`: what it has to tell, as values, text and HTML;
- `folder`: where all of it goes.
"""

from autogo_onnx.evolved.options import EvolveOptions

__all__ = ["EvolveOptions"]
