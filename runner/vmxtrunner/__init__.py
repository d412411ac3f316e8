"""The runner of vmxt: boots the suite's kernels on a target and tells what came of it."""

VERSION = "0.1"
