"""The routes of the API, a file for each subject: read the request, call the library, send what it says."""
