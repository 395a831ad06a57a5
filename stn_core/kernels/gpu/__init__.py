"""The warp on a GPU, in Triton: `launch` alone is to be imported, and only where it is called."""
