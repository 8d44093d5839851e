"""dlp_opendata_api: importing it imports all of it."""

from .analysis_apis import data_reader as data_reader
