"""Local files, and files in remote stores.

========== =====================================================================
remote     files named by URLs such as ``s3://bucket/key``
connection requests through fsspec: time-outs, repeating (retries), one-line errors
seekable   bytes that are read at any position, as a binary stream
byte_file  a file of which ranges of bytes are read, local or remote
stream     a remote file as a stream that reads ahead
identity   what identifies the content of a file, and whether it has changed
ahead      reading ahead in threads
cache      ranges of remote files, kept on disk and fetched together
ranges     which ranges of bytes are fetched together
web_ranges many ranges in one request of a web server
========== =====================================================================
"""
