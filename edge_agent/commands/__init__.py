"""One module per subcommand of `edge-agent`."""
