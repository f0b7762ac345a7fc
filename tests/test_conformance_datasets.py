"""What is promised of every data set, whichever there are; none of them is prepared for it."""

import importlib
import pickle

import pytest

from input_pipeline import conversion, datasets, release
from input_pipeline.errors import DatasetError

BUILDERS = {
    name: importlib.import_module(f"input_pipeline.datasets.{name}").Builder
    for name in datasets.names()
}
CONFIGS = [
    f"{name}/{config.name}"
    for name, builder in BUILDERS.items()
    for config in builder.BUILDER_CONFIGS
] + ["folder/docs/examples/potholes.yaml"]
RELEASES = [
    config
    for config in CONFIGS
    if issubclass(BUILDERS[config.partition("/")[0]], release.ReleaseBuilder)
]


@pytest.fixture
def builder(request, tmp_path, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)  # the path of the YAML is seen from there
    return datasets._builder(request.param, str(tmp_path))[1]


@pytest.mark.parametrize("builder", CONFIGS, indirect=True)
def test_specs_and_features_are_of_the_same_keys(builder):
    specs = builder.label_specs
    assert next(iter(specs)) == "image"
    assert specs["image"].kind == "image"
    assert len(specs) > 1
    assert set(builder.info.features) == {"id", *specs}
    for key, spec in specs.items():
        if spec.kind == "classes":
            names = spec.class_names
            assert names, key
            assert len(set(names)) == len(names), key
            assert spec.ignore >= len(names), key
            assert all(0 <= side < len(names) for pair in spec.flip_swap for side in pair), key
        if spec.kind in ("depth", "disparity", "inverse_depth"):
            assert spec.valid_range, key
            assert spec.zoom_power == {"depth": -1}.get(spec.kind, 1) or spec.zoom_power == 0, key
        if spec.kind == "normals":
            assert (spec.flip_negate, spec.vector_xy) == ((0,), (0, 1)), key


@pytest.mark.parametrize("builder", RELEASES, indirect=True)
def test_releases_convert_in_other_processes_and_name_what_is_missing(builder, tmp_path):
    job = conversion.Job(builder.info.full_name, builder.convert, builder.specs, builder.size)
    item = conversion.Item("0", {})
    # Raises if the name of a result were to depend on where in memory the settings are.
    assert pickle.loads(pickle.dumps(job)).key(item) == job.key(item)
    (tmp_path / "empty").mkdir()
    for partial in (False, True):
        with pytest.raises(DatasetError, match="empty"):
            builder.find(tmp_path / "empty", partial=partial)
