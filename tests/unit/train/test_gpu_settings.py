"""What a GPU is told, by the arguments that are passed: types of sums, attention."""

from typing import Any

import pytest

from d3.config.training import Midtrain
from d3.errors import ConfigError
from d3.train.load_model import attention_of
from d3.train.settings import deepspeed_settings


@pytest.mark.parametrize("zero", [1, 2, 3])
def test_gradients_are_summed_in_float32(zero: int) -> None:
    values = deepspeed_settings(Midtrain.model_validate({"dtype": "bfloat16", "zero_stage": zero}), 4)
    assert values["bf16"] == {"enabled": True}
    assert values["data_types"] == {"grad_accum_dtype": "fp32"}
    assert values["communication_data_type"] == "fp32"
    plain = deepspeed_settings(Midtrain.model_validate({"zero_stage": zero, "batch": 2, "processes": 2}), 1)
    assert not {"data_types", "communication_data_type"} & plain.keys()


def test_attention_follows_the_device() -> None:
    ampere: dict[str, Any] = {"dtype": "bfloat16", "capability": (9, 0), "installed": True}
    assert attention_of("auto", **ampere) == attention_of("flash", **ampere) == "flash_attention_2"
    assert attention_of("sdpa", **ampere) == "sdpa"
    for lacking, reason in (
        ({"installed": False}, "flash_attn is not installed"),
        ({"capability": None}, "there is no GPU"),
        ({"capability": (7, 5)}, "older than Ampere"),
        ({"dtype": "float32"}, "dtype is float32"),
    ):
        assert attention_of("auto", **ampere | lacking) == "sdpa"
        with pytest.raises(ConfigError, match=reason):
            attention_of("flash", **ampere | lacking)
