"""One file for each published table or figure: `--sweep=configs/sweeps/<name>.py[:protocol]`."""
