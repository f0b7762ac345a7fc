"""Published weights: readers that execute nothing, and the way into our parameters."""
