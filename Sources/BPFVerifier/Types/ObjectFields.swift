import BPFLinux
import BTF

extension SpecialField {
  /// The special fields of objects that a program may allocate, by type in the program's BTF. Types without any are
  /// not there.
  public static func ofObjects(in program: Program, on linux: Linux) -> [TypeID: [SpecialField]] {
    guard let types = program.btf else { return [:] }
    let parser = BTFRecordParser(btf: types, index: Verification.programBTF, kernel: linux.btf)
    guard let records = try? parser.structRecords() else { return [:] }
    return records.mapValues { $0.fields.map(SpecialField.init) }
  }
}
