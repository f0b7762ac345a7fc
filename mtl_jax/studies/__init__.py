"""What a study is: sweeps, their runner and the published tables beside them."""
