/// Headers that come with Skep, so that C programs compile on a machine without libbpf and kernel headers.
///
/// The compiler looks here last: where the machine has headers of its own, programs are compiled with those.
public enum BundledHeaders {
  /// Path below the include directory, and text.
  public static var files: [(path: String, text: String)] {
    [
      ("bpf/bpf_helper_defs.h", HelperDeclarations.header),
      ("bpf/bpf_helpers.h", ProgramHeaders.helpers),
      ("bpf/bpf_endian.h", ProgramHeaders.endian),
      ("bpf/bpf_tracing.h", TracingHeader.text),
      ("bpf/bpf_core_read.h", CoreReadHeader.text),
      ("linux/bpf.h", UserInterfaceHeader.text),
    ] + PlatformHeaders.files
  }
}
