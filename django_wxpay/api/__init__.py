"""Entry points over HTTP: where WeChat Pay sends its notifications, and what a shop's front end may ask."""
