"""Where components come from: this machine, the web, and servers of repositories."""
