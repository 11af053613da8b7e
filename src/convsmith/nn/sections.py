"""Arguments of a net that name its parts, as sections of a recipe."""

from __future__ import annotations

from typing import Annotated

from convsmith.catalog import Kind, Spec

Activation = Annotated[Spec, Kind("activation")]
Norm = Annotated[Spec, Kind("norm")]
Pooling = Annotated[Spec, Kind("pooling")]
Dropout = Annotated[Spec, Kind("dropout")]
Neck = Annotated[Spec, Kind("neck")]
Convolution = Annotated[Spec, Kind("convolution")]
GlobalPooling = Annotated[Spec, Kind("global_pooling")]
Initialization = Annotated[Spec, Kind("init")]
