"""The pages under /hub: plain HTML forms that post and redirect; scripts only make them quicker to the eye."""
