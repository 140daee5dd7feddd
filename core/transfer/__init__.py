"""Moving bytes between folders and stores: whole or not at all, checked, resumed.

`sides` says what a source and a target must do, `folder` and `store` do it; `mover` moves
small items by itself and large ones through `parts`, on the way that `route` describes.
"""
