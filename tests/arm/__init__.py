"""What runs on a Pi's instruction set beside the marked tests elsewhere: docs/arm64.md."""
