"""Metrics of a whole split, in two halves.

On the device, functions such as `confusion_matrix` and `depth_sums` reduce one batch to a few sums.
The caller adds them up over the split, in float64, and `segmentation_metrics`, `depth_metrics` and
their like turn the totals into numbers, in NumPy. Averages of batch averages, which change with the
batch size, never occur. A metric of which the split has no valid pixel is NaN.

One module per kind of output; what they offer is reached through this package.
"""

from mtl_jax.metrics.composite import HEADLINE_MEAN as HEADLINE_MEAN
from mtl_jax.metrics.composite import MULTITASK_SCORE as MULTITASK_SCORE
from mtl_jax.metrics.composite import composite as composite
from mtl_jax.metrics.composite import headline_mean as headline_mean
from mtl_jax.metrics.composite import multitask_score as multitask_score
from mtl_jax.metrics.composite import unclamped_multitask_score as unclamped_multitask_score
from mtl_jax.metrics.depth import LOG_FLOOR as LOG_FLOOR
from mtl_jax.metrics.depth import depth_metrics as depth_metrics
from mtl_jax.metrics.depth import depth_sums as depth_sums
from mtl_jax.metrics.instances import instance_metrics as instance_metrics
from mtl_jax.metrics.instances import instance_sums as instance_sums
from mtl_jax.metrics.instances import offset_metrics as offset_metrics
from mtl_jax.metrics.instances import offset_sums as offset_sums
from mtl_jax.metrics.names import is_member as is_member
from mtl_jax.metrics.names import is_variant as is_variant
from mtl_jax.metrics.normals import normals_metrics as normals_metrics
from mtl_jax.metrics.normals import normals_sums as normals_sums
from mtl_jax.metrics.relative import DELTA_PROTOCOLS as DELTA_PROTOCOLS
from mtl_jax.metrics.relative import delta_m as delta_m
from mtl_jax.metrics.segmentation import confusion_matrix as confusion_matrix
from mtl_jax.metrics.segmentation import iou_from_confusion as iou_from_confusion
from mtl_jax.metrics.segmentation import miou_of_classes as miou_of_classes
from mtl_jax.metrics.segmentation import segmentation_metrics as segmentation_metrics
from mtl_jax.metrics.segmentation import segmentation_sums as segmentation_sums
from mtl_jax.metrics.segmentation import segmentation_variants as segmentation_variants
