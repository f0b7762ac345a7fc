"""MLoRE (Yang et al. 2024) and TaskPrompter (Ye and Xu 2023), which take images of one size.

--config=configs/mlore.py                        MLoRE on the embedded data set, sized for a CPU
--config=configs/mlore.py:streets_task_prompter  TaskPrompter, likewise
--config=configs/mlore.py:pascal_context, :pascal_context_b, :nyud   MLoRE as published
--config=configs/mlore.py:pascal_context_task_prompter, :nyud_task_prompter   TaskPrompter
"""

from ml_collections import ConfigDict

from mtl_jax.configs import benchmarks, common, invpt

SIZE = (128, 256)  # whole images, as evaluation takes no others


def streets(config: ConfigDict) -> None:
    """MLoRE, narrow, after ViT-T."""
    invpt.small_vit(config, SIZE)
    config.model.architecture = "mlore"
    config.model.encoder.class_token = False
    config.model.width = 64
    config.model.ranks = (4, 6, 8, 10, 12)
    config.model.own_rank = 8
    config.model.kept = 3


def streets_task_prompter(config: ConfigDict) -> None:
    """TaskPrompter, narrow, after ViT-T."""
    invpt.small_vit(config, SIZE)
    config.model.architecture = "task_prompter"
    config.model.encoder.class_token = False
    config.model.selected = 64
    config.model.width = 64
    config.model.windows = 2


def pascal_context(config: ConfigDict) -> None:
    """MLoRE after ViT-L; the authors train on two GPUs with two images each."""
    _on_pascal(config, "L")
    _mlore(config, width=452, own_rank=72, positive=0.925, balance=3e-4)


def pascal_context_b(config: ConfigDict) -> None:
    """MLoRE after ViT-B."""
    _on_pascal(config, "B")
    _mlore(config, width=640, own_rank=64, positive=0.95, balance=1e-4)


def nyud(config: ConfigDict) -> None:
    """MLoRE after ViT-L."""
    _on_nyud(config)
    _mlore(config, width=768, own_rank=16, positive=0.88, balance=5e-4)
    config.model.ranks = tuple(range(16, 241, 16))
    config.model.before_softmax = True


def pascal_context_task_prompter(config: ConfigDict) -> None:
    """TaskPrompter after ViT-L."""
    _on_pascal(config, "L")
    _task_prompter(config, selected=300, width=350, windows=1, reweighting=True)


def pascal_context_task_prompter_b(config: ConfigDict) -> None:
    """TaskPrompter after ViT-B."""
    _on_pascal(config, "B")
    _task_prompter(config, selected=780, width=1024, windows=4, reweighting=True)


def nyud_task_prompter(config: ConfigDict) -> None:
    """TaskPrompter after ViT-L."""
    _on_nyud(config)
    _task_prompter(config, selected=768, width=768, windows=4, reweighting=False)


def _on_pascal(config: ConfigDict, size: str) -> None:
    benchmarks.pascal_context(config, family="transformer")
    invpt.vit(config, size, (512, 512), batch=4, images=4998, steps=40_000)
    _common(config)


def _on_nyud(config: ConfigDict) -> None:
    """Both learn at half the rate of InvPT here."""
    benchmarks.nyud(config, family="transformer")
    config.schedule.learning_rate = 1e-5
    invpt.vit(config, "L", (448, 576), batch=4, images=795, steps=40_000)
    _common(config)


def _common(config: ConfigDict) -> None:
    config.model.encoder.class_token = False
    config.optimizer.clip_norm = 10.0


def _mlore(config: ConfigDict, *, width: int, own_rank: int, positive: float, balance: float):
    config.model.architecture = "mlore"
    config.model.width, config.model.own_rank = width, own_rank
    config.model.balance = balance
    config.tasks.edge.positive_weight = positive


def _task_prompter(
    config: ConfigDict, *, selected: int, width: int, windows: int, reweighting: bool
) -> None:
    config.model.architecture = "task_prompter"
    config.model.selected, config.model.width = selected, width
    config.model.windows, config.model.reweighting = windows, reweighting


PROTOCOLS = {
    f.__name__: f
    for f in (
        streets,
        streets_task_prompter,
        pascal_context,
        pascal_context_b,
        nyud,
        pascal_context_task_prompter,
        pascal_context_task_prompter_b,
        nyud_task_prompter,
    )
}


def get_config(protocol: str = "streets") -> ConfigDict:
    """The config of one protocol."""
    return common.of_protocol(protocol, PROTOCOLS, name="mlore")
