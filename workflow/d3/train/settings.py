"""A training section of the configuration as settings of transformers' Trainer and of DeepSpeed."""

import math
from typing import Any

from d3.config.training import Optimizer, Training

ADAM_EPSILON = 1e-8
BUCKET = 50_000_000
"""Elements that DeepSpeed reduces at once. Its default of 5e8 takes 2 GB for the buffer alone."""


def sharding(settings: Training) -> int:
    """Return the ZeRO stage: none for one process in float32, which has nobody to share with.

    In bfloat16 a stage keeps the float32 master weights, so it stays.
    """
    return 0 if settings.processes == 1 and settings.dtype == "float32" else settings.zero_stage


def warmup_steps(optimizer: Optimizer, steps: int) -> int:
    """Return the steps of linear warm-up in a run of `steps`: whole ones, so a very short run has none."""
    return optimizer.warmup_steps or math.floor(optimizer.warmup_ratio * steps)


def schedule(optimizer: Optimizer, steps: int) -> dict[str, Any]:
    """Return the Trainer's settings for the learning rate.

    After the warm-up it falls along half a cosine or a line, and would reach the final ratio one
    step after the last.
    """
    warmup = warmup_steps(optimizer, steps)
    settings: dict[str, Any] = {"learning_rate": optimizer.learning_rate, "warmup_steps": warmup}
    if optimizer.schedule == "cosine":
        return settings | {
            "lr_scheduler_type": "cosine_with_min_lr",
            "lr_scheduler_kwargs": {"min_lr_rate": optimizer.final_ratio},
        }
    if not optimizer.final_ratio:
        return settings | {"lr_scheduler_type": "linear"}
    return settings | {
        "lr_scheduler_type": "warmup_stable_decay",
        "lr_scheduler_kwargs": {
            "num_decay_steps": max(steps - warmup, 1),
            "decay_type": "linear",
            "min_lr_ratio": optimizer.final_ratio,
        },
    }


def deepspeed_settings(settings: Training, accumulation: int) -> dict[str, Any]:
    """Return DeepSpeed's settings. The optimizer is torch's AdamW, made by the Trainer with its groups
    of weight decay, so nothing is compiled at run time.
    """
    zero: dict[str, Any] = {
        "stage": sharding(settings),
        "reduce_bucket_size": BUCKET,
        "allgather_bucket_size": BUCKET,
        "contiguous_gradients": True,
    }
    # Sums of many small gradients lose their end in bfloat16: both those over micro batches and over processes.
    sums = {"data_types": {"grad_accum_dtype": "fp32"}, "communication_data_type": "fp32"}
    if sharding(settings) == 3:
        zero |= {"stage3_gather_16bit_weights_on_model_save": True, "sub_group_size": 10**9}
    return {
        "train_batch_size": settings.batch,
        "train_micro_batch_size_per_gpu": settings.micro_batch,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": settings.optimizer.clip,
        "bf16": {"enabled": settings.dtype == "bfloat16"},
        "fp16": {"enabled": False},
        **(sums if settings.dtype == "bfloat16" and sharding(settings) else {}),
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
    }


def trainer_settings(
    settings: Training, *, accumulation: int, steps: int, seed: int, folder: str, gpu: bool
) -> dict[str, Any]:
    """Return the keyword arguments of `TrainingArguments`; checkpoints go to `folder`."""
    optimizer = settings.optimizer
    return {
        "output_dir": folder,
        "deepspeed": deepspeed_settings(settings, accumulation),
        "accelerator_config": {"use_configured_state": True},
        "per_device_train_batch_size": settings.micro_batch,
        "gradient_accumulation_steps": accumulation,
        "num_train_epochs": 1,
        "max_steps": steps,
        "train_sampling_strategy": "sequential",
        "dataloader_num_workers": 0,
        "use_cpu": not gpu,
        "dataloader_pin_memory": gpu,
        "remove_unused_columns": False,
        **schedule(optimizer, steps),
        "optim": "adamw_torch",
        "adam_beta1": optimizer.betas[0],
        "adam_beta2": optimizer.betas[1],
        "adam_epsilon": ADAM_EPSILON,
        "weight_decay": optimizer.weight_decay,
        "max_grad_norm": optimizer.clip,
        "average_tokens_across_devices": True,
        "bf16": settings.dtype == "bfloat16",
        "activation_checkpointing": settings.gradient_checkpointing,
        "seed": seed,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # the checkpoint callback decides
        "save_total_limit": 2,
        "eval_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "log_level": "warning",
        "ddp_timeout": 3600,
    }
