"""Speed and memory against rivals, in the same run on the same machine."""
