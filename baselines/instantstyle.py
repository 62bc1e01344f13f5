"""InstantStyle (Wang et al., arXiv 2404.02733): IP-Adapter in the style blocks only.

Official code: instantX-research/InstantStyle at 6b40588; here diffusers' block scales, which its README recommends.
Settings of infer_style_controlnet.py: SDXL, adapter scale 1 in `up_blocks.0.attentions.1`, Canny ControlNet at 0.6,
guidance 5, 30 steps, its quality words and negative prompt. Stable Diffusion 1.5 (`base`, `adapter` and `controlnet` of
conf/method/ip_adapter.yaml) takes `up_blocks.1`, which the authors call experimental and weak.

What differs: prompts by the rule of baselines/captions.py; no subtraction of the content prompt's embedding, which
needs a caption of every reference. Several references are native, as for IP-Adapter.
"""

from typing import Any

from baselines.controlnet import is_xl
from baselines.ip_adapter import IPAdapter
from stylegallery.models.pretrained import model_files
from stylegallery.settings import Weights

Scale = dict[str, Any]
STYLE: dict[bool, Scale] = {  # by whether the model is SDXL
    True: {"up": {"block_0": [0.0, 1.0, 0.0]}},
    False: {"up": {"block_1": [1.0, 1.0, 1.0]}},
}
LAYOUT: dict[bool, Scale] = {
    True: {"down": {"block_2": [0.0, 1.0]}},
    False: {"down": {"block_2": [1.0, 1.0]}, "mid": 1.0},
}


class InstantStyle(IPAdapter):
    """`layout` adds the blocks that carry the reference's composition. The other settings are IPAdapter's."""

    def __init__(self, base: Weights, layout: bool, **settings: Any) -> None:
        xl = is_xl(model_files(base))
        scale = STYLE[xl] | LAYOUT[xl] if layout else STYLE[xl]
        super().__init__(base=base, scale=scale, **settings)
