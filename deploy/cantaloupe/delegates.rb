# Where an image server of ingest finds the bytes behind an identifier: an object of S3, or a file on the shared disk.
#
#   s3://bucket/key           s3://region/bucket/key           /scratch/work/...           file:///scratch/work/...
#
# Cantaloupe has percent-decoded the identifier once, and nothing of it is decoded again: a key may hold %, ?, ; and
# whatever else. What is of neither form is answered with 404.
class CustomDelegate
  S3_URI = %r{\As3://(?:[a-z]{2}(?:-[a-z]+)+-[0-9]+/)?(?<bucket>[A-Za-z0-9][A-Za-z0-9._-]{2,62})/(?<key>.+)\z}m
  PATH = %r{\A(?:file:(?://(?:localhost)?)?)?(?<path>/.+)\z}m

  # Files are served from here only: identifiers come from whoever can reach the port.
  SHARED = '/scratch/'.freeze

  attr_accessor :context

  # An identifier is never a page or a scale: without this, one that ends in ;2 would be page 2 of another image.
  def deserialize_meta_identifier(meta_identifier)
    { 'identifier' => meta_identifier }
  end

  def serialize_meta_identifier(components)
    components['identifier']
  end

  # Whoever may reach the port may see everything: that is for security groups to decide.
  def pre_authorize(options = {})
    true
  end

  def authorize(options = {})
    true
  end

  def source(options = {})
    context['identifier'].start_with?('s3://') ? 'S3Source' : 'FilesystemSource'
  end

  def s3source_object_info(options = {})
    found = S3_URI.match(context['identifier'])
    found && { 'bucket' => found[:bucket], 'key' => found[:key] }
  end

  def filesystemsource_pathname(options = {})
    found = PATH.match(context['identifier'])
    return nil unless found

    path = File.expand_path(found[:path])
    path.start_with?(SHARED) ? path : nil
  end

  def extra_iiif2_information_response_keys(options = {})
    {}
  end

  def extra_iiif3_information_response_keys(options = {})
    {}
  end

  def overlay(options = {})
    nil
  end

  def redactions(options = {})
    []
  end

  def metadata(options = {})
    nil
  end
end
