"""The installation on AWS as an app of the AWS CDK, from which plain CloudFormation templates are made.

A module for each concern. Resources are those of CloudFormation itself ("L1"): each has the name that it has in the
template, and no construct adds a resource or a right that is not written here.
"""
