"""What every data set of this package is to TFDS: records on this machine, nothing elsewhere."""

import os

from input_pipeline import integrity
from input_pipeline.quiet_tensorflow import tfds


class LocalInfo(tfds.core.DatasetInfo):
    """Metadata of a data set that no server knows."""

    def initialize_from_bucket(self) -> None:
        """Does nothing. TFDS would ask its server, and leave a folder in $TMPDIR each time."""

    def read_from_directory(self, dataset_info_dir: str | os.PathLike) -> None:
        """Reads what lies beside the records.

        Raises:
          DatasetError: it is damaged.
        """
        integrity.check_info(dataset_info_dir)
        try:
            super().read_from_directory(dataset_info_dir)
        except Exception as error:  # Every kind of damage is another error of another library.
            what = f"{integrity.INFO} cannot be understood ({error})"
            raise integrity.damaged(dataset_info_dir, what) from error


class LocalBuilder(tfds.core.GeneratorBasedBuilder):
    """A builder whose records are made here; `_info` returns a `LocalInfo`."""

    def is_prepared(self) -> bool:
        """Whether the folder of the records is there, complete or damaged; see `integrity`."""
        # That of TFDS takes brackets in a path for a pattern, and then finds nothing.
        return self.data_path.is_dir()

    def _create_builder_config(self, builder_config, version):
        # TFDS would warn of a configuration that no list has, with everything that is in it.
        is_config = isinstance(builder_config, tfds.core.BuilderConfig)
        if is_config and builder_config.name not in {c.name for c in self.BUILDER_CONFIGS}:
            return builder_config
        return super()._create_builder_config(builder_config, version)

    # "Downloading and preparing dataset Unknown size": nothing is downloaded, and what is done is
    # said by `datasets.prepare`.
    def _log_download_bytes(self) -> None:
        pass

    def _log_download_done(self) -> None:
        pass
