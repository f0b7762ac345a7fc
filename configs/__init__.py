"""One file for each experiment: `--config=configs/<name>.py[:protocol]`."""
