"""`perception_node.files`, for `learn/train.py`."""

from perception_node.files import put_json as put_json
