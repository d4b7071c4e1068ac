"""Components in WebAssembly: compiled, limited, and called from the host's loop."""
