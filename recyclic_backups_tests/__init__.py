"""The test suite: real servers, real files, and for each test the loss it prevents."""
