"""What mitmproxy's user sees of the addon: marks, comments, a content view, commands, log lines."""
