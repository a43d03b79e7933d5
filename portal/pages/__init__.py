"""The pages under /hub: plain HTML forms that post and redirect. Scripts only make them more convenient."""
