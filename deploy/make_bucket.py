"""Make the bucket that MLflow keeps artifacts in, and one for packs; what exists stays as it is."""

import os

import boto3

store = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
there = {bucket["Name"] for bucket in store.list_buckets()["Buckets"]}
for name in ("mlflow", "packs"):
    if name not in there:
        store.create_bucket(Bucket=name)
    print(f"bucket {name} is there")
